"""The life of tasks as anyone may observe it, in plain Python and without a server.

It says what each transition does to everything that can be looked at: records and their time to
live, streams in their order and who holds what of them, the queue, slots of limits and who waits
for them, events, and the replies. Time is counted in ticks that only `World.pass_time` moves.

    values    what is in the world, what is asked of it and what it answers
    world     the state, and the few steps that every transition is made of
    slots     slots of concurrency limits, and who waits for them
    producing add, replace, cancel, clear
    working   what workers do: claim, hand in, reclaim, renew, adopt, sweep, promote, report
    by_hand   claim, mark and reschedule of who runs one execution without being a worker
    strikes   which calls are stricken
"""
