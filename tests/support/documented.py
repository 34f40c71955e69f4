"""The public interface as the documents have it, written down for tests to compare with.

A line is a signature, and goes on in those that are indented; `async` stands before what is
awaited. Durations are written as `seconds(2)`; `...` is a default that the documents leave open.
"""

from datetime import timedelta

#: What users import, by the module that they import it from.
NAMES = {
    "docket": """
        __version__ Agenda CallArgument ConcurrencyLimit Cooldown Cron CurrentDocket
        CurrentExecution CurrentWorker CycleError Debounce Depends Disposition Docket Execution
        ExecutionCancelled ExecutionState ExponentialRetry Logged Perpetual Progress RateLimit Retry
        Shared StrikeList TaskArgument TaskCall TaskKey TaskLogger Timeout Worker testing tasks
    """,
    "docket.docket": "Docket DocketSnapshot RunningExecution WorkerInfo",
    "docket.execution": """
        Execution ExecutionState ExecutionProgress ExecutionCancelled Disposition TaskFunction
        StateEvent ProgressEvent TaskCall compact_signature get_signature
    """,
    "docket.worker": "Worker default_fallback_task",
    "docket.agenda": "Agenda",
    "docket.annotations": "Logged",
    "docket.strikelist": "StrikeList Strike Restore Operator StrikeInstruction",
    "docket.dependencies": """
        AdmissionBlocked CallArgument CompletionHandler ConcurrencyBlocked ConcurrencyLimit Cooldown
        Cron CurrentDocket CurrentExecution CurrentWorker CycleError Debounce Dependency Depends
        DependencyFunction ExponentialRetry FailedDependency FailureHandler ForcedRetry Perpetual
        Progress RateLimit Retry Runtime Shared SharedContext TaskArgument TaskKey TaskLogger
        TaskOutcome Timeout current_docket current_execution current_worker format_duration
        get_annotation_dependencies
        get_dependency_parameters get_single_dependency_of_type
        get_single_dependency_parameter_of_type resolved_dependencies validate_dependencies
    """,
    "docket.testing": """
        assert_task_scheduled assert_task_not_scheduled assert_task_count assert_no_tasks
    """,
    "docket.tasks": "trace fail sleep standard_tasks TaskCollection",
    "docket.instrumentation": """
        healthcheck_server metrics_server message_getter message_setter
        TASKS_ADDED TASKS_REPLACED TASKS_SCHEDULED TASKS_CANCELLED TASKS_STARTED TASKS_REDELIVERED
        TASKS_STRICKEN TASKS_SUPERSEDED TASKS_COMPLETED TASKS_FAILED TASKS_SUCCEEDED TASKS_RETRIED
        TASKS_PERPETUATED TASKS_RUNNING TASK_DURATION TASK_PUNCTUALITY REDIS_DISRUPTIONS
        STRIKES_IN_EFFECT QUEUE_DEPTH SCHEDULE_DEPTH
    """,
}

SIGNATURES = {
    "docket.docket": """
Docket(name="docket", url="redis://localhost:6379/0", heartbeat_interval=seconds(2),
    missed_heartbeats=5, execution_ttl=minutes(15), result_storage=None,
    enable_internal_instrumentation=False, credential_provider=None)
Docket.register(function, names=None)
Docket.register_collection(collection_path)
Docket.add(function, when=None, key=None)
Docket.replace(function, when, key)
async Docket.schedule(execution)
async Docket.cancel(key)
async Docket.get_execution(key)
async Docket.clear()
Docket.call(function, when=None, key=None)
async Docket.add_many(calls, *, chunk_size=1000)
async Docket.replace_many(calls, *, chunk_size=1000)
async Docket.strike(function=None, parameter=None, operator="==", value=None)
async Docket.restore(function=None, parameter=None, operator="==", value=None)
async Docket.wait_for_strikes_loaded()
async Docket.snapshot()
async Docket.workers()
async Docket.task_workers(task_name)
Docket.redis()
Docket.key(suffix)
Docket.runs_key(key)
Docket.labels()
""",
    "docket.worker": """
Worker(docket, name=None, concurrency=10, redelivery_timeout=minutes(5),
    reconnection_delay=seconds(5), minimum_check_interval=milliseconds(250),
    scheduling_resolution=milliseconds(250), schedule_automatic_tasks=True,
    enable_internal_instrumentation=False, fallback_task=None, dependencies=None,
    message_batch=1000)
Worker.labels()
async Worker.run_until_finished()
async Worker.run_forever()
async Worker.run_at_most(iterations_by_key)
async Worker.run(docket_name="docket", url="redis://localhost:6379/0", name=None, concurrency=10,
    redelivery_timeout=minutes(5), reconnection_delay=seconds(5),
    minimum_check_interval=milliseconds(100), scheduling_resolution=milliseconds(250),
    schedule_automatic_tasks=True, enable_internal_instrumentation=False, until_finished=False,
    healthcheck_port=None, metrics_port=None, tasks=["docket.tasks:standard_tasks"],
    fallback_task=None, message_batch=1000, dependencies=None)
""",
    "docket.execution": """
Execution(docket, function, args, kwargs, key, when, attempt, trace_context=None,
    redelivered=False, function_name=None, generation=0, message_id=None)
async Execution.schedule(replace=False, reschedule_message=None, expected_generation=0)
async Execution.claim(worker)
async Execution.mark_as_completed(result_key=None)
async Execution.mark_as_failed(error=None, result_key=None)
async Execution.mark_as_cancelled()
async Execution.is_superseded()
Execution.get_argument(name)
async Execution.sync()
async Execution.get_result(*, timeout=None, deadline=None)
Execution.subscribe(*, ready=None)
Execution.call_repr()
Execution.general_labels()
Execution.specific_labels()
ExecutionProgress(docket, key)
async ExecutionProgress.create(docket, key)
ExecutionProgress.subscribe(ready=None)
async ExecutionProgress.set_total(total)
async ExecutionProgress.increment(amount=1)
async ExecutionProgress.set_message(message)
async ExecutionProgress.sync()
""",
    "docket.agenda": """
Agenda()
Agenda.__iter__()
Agenda.__len__()
Agenda.add(function, key=None)
Agenda.clear()
async Agenda.scatter(docket, over, start=None, jitter=None)
""",
    "docket.annotations": """
Logged(length_only=False)
Logged.annotated_parameters(signature)
""",
    "docket.strikelist": """
StrikeList(url=None, name="strikelist", enable_internal_instrumentation=False,
    credential_provider=None)
async StrikeList.__aenter__()
async StrikeList.__aexit__(exc_type, exc_value, traceback)
async StrikeList.connect()
async StrikeList.close()
async StrikeList.strike(function=None, parameter=None, operator="==", value=None)
async StrikeList.restore(function=None, parameter=None, operator="==", value=None)
async StrikeList.send_instruction(instruction)
async StrikeList.wait_for_strikes_loaded()
StrikeList.is_stricken(target)
StrikeList.update(instruction)
StrikeList.add_condition(condition)
StrikeList.remove_condition(condition)
StrikeInstruction.labels()
Strike(function, parameter, operator, value)
Restore(function, parameter, operator, value)
""",
    "docket.dependencies": """
CallArgument(parameter=None, optional=False, *, default=...)
ConcurrencyLimit(argument_name=None, max_concurrent=1, scope=None)
Cooldown(window, *, scope=None)
Cron(expression, automatic=True, tz=UTC)
CurrentDocket()
CurrentExecution()
CurrentWorker()
Debounce(settle, *, scope=None)
Depends(dependency, **bindings)
ExponentialRetry(attempts=1, minimum_delay=seconds(1), maximum_delay=seconds(64))
ExponentialRetry.forever(delay=seconds(1), maximum_delay=seconds(64))
Perpetual(every=seconds(0), automatic=False)
Perpetual.after(delay)
Perpetual.at(when)
Perpetual.cancel()
Perpetual.perpetuate(*args, **kwargs)
Progress()
async Progress.increment(amount=1)
async Progress.set_message(message)
async Progress.set_total(total)
RateLimit(limit, *, per, drop=False, scope=None)
Retry(attempts=1, delay=seconds(0))
Retry.after(delay)
Retry.at(when)
Retry.forever(delay=seconds(0))
Retry.in_(delay)
Shared(factory)
TaskArgument(parameter=None, optional=False)
TaskKey()
TaskLogger()
Timeout(base)
Timeout.expired()
Timeout.extend(by=None)
Timeout.remaining()
Timeout.start()
Dependency.bind_to_parameter(name, value)
Dependency.for_parameter(name)
async Runtime.run(execution, function, args, kwargs)
async FailureHandler.handle_failure(execution, outcome)
async CompletionHandler.on_complete(execution, outcome)
""",
    "docket.calls": """
TaskCall(function, args, kwargs, key, when, function_name=None)
""",
    "docket.testing": """
async assert_task_scheduled(docket, function, *, args=None, kwargs=None, key=None)
async assert_task_not_scheduled(docket, function, *, args=None, kwargs=None, key=None)
async assert_task_count(docket, function=None, *, count)
async assert_no_tasks(docket)
""",
    "docket.tasks": """
async trace(message)
async fail(message)
async sleep(seconds)
""",
    "docket.instrumentation": """
healthcheck_server(host="0.0.0.0", port=None)
metrics_server(host="0.0.0.0", port=None)
""",
}

_RETRIED: dict[str, object] = {"on": None, "never_on": (), "jitter": 0.0}

#: What ours has beyond the documents, by signature: arguments, and their defaults.
ADDED: dict[str, dict[str, object]] = {
    "docket.dependencies.Retry": _RETRIED,
    "docket.dependencies.Retry.forever": _RETRIED,
    "docket.dependencies.ExponentialRetry": _RETRIED,
    "docket.dependencies.ExponentialRetry.forever": _RETRIED,
    "docket.strikelist.StrikeList": {"serializer": "pickle"},
    "docket.docket.Docket": {
        "serializer": "pickle",
        "keep_failed": timedelta(days=7),
        "keep_failed_most": 10_000,
        "keep_statistics": timedelta(hours=25),
    },
    "docket.execution.ExecutionProgress": {"run": None},
    "docket.docket.Docket.strike": {"reason": None, "by": None},
    "docket.docket.Docket.restore": {"reason": None, "by": None},
    "docket.strikelist.StrikeList.strike": {"reason": None, "by": None},
    "docket.strikelist.StrikeList.restore": {"reason": None, "by": None},
    "docket.strikelist.Strike": {"reason": None, "by": None},
    "docket.strikelist.Restore": {"reason": None, "by": None},
    "docket.worker.Worker.run": {"allowed_hosts": ()},
    "docket.instrumentation.metrics_server": {"allowed_hosts": ()},
    "docket.instrumentation.healthcheck_server": {"allowed_hosts": ("*",)},
}

#: Attributes and properties that users read, by class.
ATTRIBUTES = {
    "Docket": """
        name url tasks heartbeat_interval missed_heartbeats execution_ttl
        prefix stream_key queue_key workers_set worker_group_name result_storage
    """,
    "Worker": """
        docket name concurrency redelivery_timeout reconnection_delay minimum_check_interval
        scheduling_resolution schedule_automatic_tasks enable_internal_instrumentation
        fallback_task dependencies message_batch
    """,
    "Execution": """
        docket function function_name args kwargs key trace_context redelivered
        when attempt state worker started_at completed_at error result_key progress
        disposition schedule_exception generation
    """,
    "ExecutionProgress": "current total message updated_at",
    "RunningExecution": "worker started",
    "StrikeList": "prefix strike_key",
    "ConcurrencyLimit": "concurrency_key is_bypassed",
    "Progress": "current total message",
    "Retry": "attempts delay attempt",
    "Perpetual": "every automatic",
    "TaskOutcome": "duration result exception",
}

#: The options that every command about a docket has besides, for settings of the docket.
ADDED_OPTIONS = """
    --serializer[DOCKET_SERIALIZER] --execution-ttl[DOCKET_EXECUTION_TTL]
    --keep-failed[DOCKET_KEEP_FAILED] --keep-failed-most[DOCKET_KEEP_FAILED_MOST]
    --heartbeat-interval[DOCKET_HEARTBEAT_INTERVAL] --missed-heartbeats[DOCKET_MISSED_HEARTBEATS]
    --docket-factory[DOCKET_FACTORY]
"""

#: The options of a filter of executions.
_FILTER = "--state --function --key-prefix --worker --error --since --until"

#: Commands with their options (and the variables that stand for them) and arguments.
COMMANDS = {
    "version": "",
    "worker": """
        --docket[DOCKET_NAME] --url[DOCKET_URL] --tasks[DOCKET_TASKS] --name[DOCKET_WORKER_NAME]
        --concurrency[DOCKET_WORKER_CONCURRENCY]
        --redelivery-timeout[DOCKET_WORKER_REDELIVERY_TIMEOUT]
        --reconnection-delay[DOCKET_WORKER_RECONNECTION_DELAY]
        --minimum-check-interval[DOCKET_WORKER_MINIMUM_CHECK_INTERVAL]
        --scheduling-resolution[DOCKET_WORKER_SCHEDULING_RESOLUTION]
        --schedule-automatic-tasks[DOCKET_WORKER_SCHEDULE_AUTOMATIC_TASKS]
        --enable-internal-instrumentation[DOCKET_WORKER_ENABLE_INTERNAL_INSTRUMENTATION]
        --until-finished[DOCKET_WORKER_UNTIL_FINISHED]
        --healthcheck-port[DOCKET_WORKER_HEALTHCHECK_PORT]
        --metrics-port[DOCKET_WORKER_METRICS_PORT]
        --http-allow-host[DOCKET_WORKER_HTTP_ALLOW_HOST]
        --message-batch[DOCKET_WORKER_MESSAGE_BATCH]
        --dependencies[DOCKET_WORKER_DEPENDENCIES] --fallback-task[DOCKET_FALLBACK_TASK]
        --logging-level[DOCKET_LOGGING_LEVEL] --logging-format[DOCKET_LOGGING_FORMAT]
    """,
    "strike": """
        --docket[DOCKET_NAME] --url[DOCKET_URL] [function] [parameter] [operator] [value]
        --reason --by
    """,
    "restore": """
        --docket[DOCKET_NAME] --url[DOCKET_URL] [function] [parameter] [operator] [value]
        --reason --by
    """,
    "strikes": "--docket[DOCKET_NAME] --url[DOCKET_URL] --json",
    "pause": """
        --docket[DOCKET_NAME] --url[DOCKET_URL] --function --until --for --reason --by
    """,
    "resume": "--docket[DOCKET_NAME] --url[DOCKET_URL] --function",
    "pauses": "--docket[DOCKET_NAME] --url[DOCKET_URL] --json",
    "ls": f"--docket[DOCKET_NAME] --url[DOCKET_URL] {_FILTER} --limit --cursor --json",
    "show": "--docket[DOCKET_NAME] --url[DOCKET_URL] --json key",
    **dict.fromkeys(
        ("retry", "run", "cancel"),
        f"--docket[DOCKET_NAME] --url[DOCKET_URL] {_FILTER} --yes --json [keys]",
    ),
    "clear": "--docket[DOCKET_NAME] --url[DOCKET_URL]",
    "snapshot": "--docket[DOCKET_NAME] --url[DOCKET_URL] --tasks[DOCKET_TASKS] --stats",
    "watch": "--docket/-d[DOCKET_NAME] --url/-u[DOCKET_REDIS_URL|DOCKET_URL] --exit-code key",
    "tasks trace": "--docket[DOCKET_NAME] --url[DOCKET_URL] --delay [message]",
    "tasks fail": "--docket[DOCKET_NAME] --url[DOCKET_URL] --delay [message]",
    "tasks sleep": "--docket[DOCKET_NAME] --url[DOCKET_URL] --delay [seconds]",
    "workers ls": "--docket[DOCKET_NAME] --url[DOCKET_URL] --json",
    "workers for-task": "--docket[DOCKET_NAME] --url[DOCKET_URL] --json task",
}

#: Commands that the documents do not have.
ADDED_COMMANDS = {
    "stats": "--docket[DOCKET_NAME] --url[DOCKET_URL] --over --watch --json",
    "web": """
        --docket[DOCKET_NAME] --url[DOCKET_URL] --bind[DOCKET_WEB_BIND]
        --read-only[DOCKET_WEB_READ_ONLY] --users[DOCKET_WEB_USERS]
        --trust-header[DOCKET_WEB_TRUST_HEADER] --trust-proxy[DOCKET_WEB_TRUST_PROXY]
        --authorize[DOCKET_WEB_AUTHORIZE] --root-path[DOCKET_WEB_ROOT_PATH]
        --origin[DOCKET_WEB_ORIGIN] --logging-level[DOCKET_LOGGING_LEVEL]
        --logging-format[DOCKET_LOGGING_FORMAT]
    """,
    "web-user": "--password name",
}
