// BullMQ, on Node: the same roles and traces as harness.py has for the others.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { performance } from "node:perf_hooks";

const { Queue, Worker } = createRequire(`${process.env.PEER_HOME}/`)("bullmq");
const options = JSON.parse(process.env.PEER_OPTIONS ?? "{}");
const address = new URL(options.url ?? "redis://127.0.0.1:6379/0");
const connection = { host: address.hostname, port: Number(address.port), maxRetriesPerRequest: null };
const BULK = 1000;
const WARM_UP = 20;

const wall = () => (performance.timeOrigin + performance.now()) / 1000;
const monotonic = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const uniform = (from, to) => from + Math.random() * (to - from);

// The slot: written a few milliseconds after a run at the latest, with the times of the runs.
let runs = 0;
let first = 0;
let last = 0;
let slot = null;
let dirty = false;

function writeSlot() {
  dirty = false;
  const record = Buffer.alloc(24);
  record.writeBigInt64LE(BigInt(runs), 0);
  record.writeDoubleLE(first, 8);
  record.writeDoubleLE(last, 16);
  slot ??= fs.openSync(path.join(options.folder, `slot.${process.pid}`), "w");
  fs.writeSync(slot, record, 0, 24, 0);
}

function count() {
  last = monotonic();
  first ||= last;
  runs += 1;
  if (!dirty) {
    dirty = true;
    setTimeout(writeSlot, 3);
  }
}

const files = {};

function append(kind, record) {
  files[kind] ??= fs.openSync(path.join(options.folder, `${kind}.${process.pid}`), "a");
  fs.writeSync(files[kind], record);
}

function stamp(moment) {
  const record = Buffer.alloc(16);
  record.writeDoubleLE(moment, 0);
  record.writeDoubleLE(wall(), 8);
  append("stamps", record);
}

function note(number, ended) {
  const record = Buffer.alloc(24);
  record.writeBigInt64LE(BigInt(number), 0);
  record.writeBigInt64LE(BigInt(ended), 8);
  record.writeDoubleLE(monotonic(), 16);
  append("runs", record);
}

async function run(job) {
  if (job.name === "no_op") {
    count();
  } else if (job.name === "stamp") {
    stamp(job.data.moment);
  } else {
    note(job.data.number, 0);
    await sleep(job.data.seconds);
    note(job.data.number, 1);
  }
}

async function addBulk(queue, name, data) {
  for (let start = 0; start < data.length; start += BULK) {
    await queue.addBulk(data.slice(start, start + BULK).map((each) => ({ name, data: each })));
  }
}

async function measured(queue, way, number) {
  const data = Array.from({ length: number }, () => ({}));
  const add = async (each) => {
    if (way === "bulk") {
      await addBulk(queue, "no_op", each);
    } else {
      for (const one of each) await queue.add("no_op", one);
    }
  };
  await add(data.slice(0, WARM_UP));
  const cpu = process.cpuUsage();
  const started = monotonic();
  await add(data);
  const seconds = monotonic() - started;
  const used = process.cpuUsage(cpu);
  const total = (used.user + used.system) / 1e6;
  return { added: number + WARM_UP, measured: number, seconds, cpu: total };
}

async function addStamps(queue, way, number) {
  const begin = wall() + 2;
  for (let each = 0; each < number; each += 1) {
    if (way === "paced") {
      await sleep(uniform(0.005, 0.025));
      await queue.add("stamp", { moment: wall() });
    } else {
      const moment = Math.round((begin + uniform(0, options.seconds)) * 1000) / 1000;
      await queue.add("stamp", { moment }, { delay: Math.max(Math.round((moment - wall()) * 1000), 0) });
    }
  }
  return { added: number };
}

async function add() {
  const queue = new Queue(options.name, { connection });
  let told;
  if (options.way === "bulk" || options.way === "single") {
    told = await measured(queue, options.way, options.count);
  } else if (options.way === "linger") {
    const data = Array.from({ length: options.count }, (_, number) => ({ number, seconds: options.seconds }));
    await addBulk(queue, "linger", data);
    told = { added: options.count };
  } else {
    told = await addStamps(queue, options.way, options.count);
  }
  await queue.close();
  console.log(JSON.stringify(told));
}

function describe() {
  const about = path.join(process.env.PEER_HOME, "node_modules/bullmq/package.json");
  const installed = { bullmq: JSON.parse(fs.readFileSync(about, "utf-8")).version };
  const settings = {
    add: "await queue.add(name, data)",
    bulk: `queue.addBulk, ${BULK} at a time`,
    worker: "new Worker(name, processor, { concurrency })",
    killed: "lockDuration and stalledInterval 30 s (default)",
  };
  console.log(JSON.stringify({ settings, runtime: `Node ${process.versions.node}`, installed }));
}

const role = process.argv[2];
if (role === "describe") {
  describe();
} else if (role === "add") {
  await add();
} else if (role === "worker") {
  const worker = new Worker(options.name, run, { connection, concurrency: options.concurrency });
  worker.on("error", (error) => console.error(error));
} else {
  console.error(`there is no role ${role}`);
  process.exit(2);
}
