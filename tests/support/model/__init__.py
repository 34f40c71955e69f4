"""A model of the life of tasks, as anyone may observe it: plain Python, no server.

It states what each transition does to everything that can be observed: records and their time to
live, streams in their order and who holds what of them, the queue, slots of limits and who waits
for them, events, and the replies. Time is counted in ticks that only `World.pass_time` moves.

    values    the contents of the world, the requests to it and its replies
    world     the state, and the few steps that every transition is made of
    slots     slots of concurrency limits, and the tasks that wait for them
    producing add, replace, cancel, clear
    working   claim, hand in, reclaim, renew, vouch, adopt, sweep, promote, report
    manual    claim, mark and reschedule, for code that runs one execution without a worker
    strikes   the strikes in effect
"""
