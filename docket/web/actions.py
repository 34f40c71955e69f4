"""The actions that the dashboard knows, as `authorize` is asked for them."""

from enum import StrEnum


class Action(StrEnum):
    """An action of somebody on the dashboard; VIEW is looking at a page."""

    VIEW = "view"
    CANCEL = "cancel"
    RETRY = "retry"
    RUN = "run"
    RESCHEDULE = "reschedule"
    PAUSE = "pause"
    RESUME = "resume"
    STRIKE = "strike"
    RESTORE = "restore"
    # Of a pool, where the dashboard is given one.
    SCALE = "scale"
    RELOAD = "reload"
    RESTART = "restart"
    DUMP = "dump"


#: Those that change tasks, given by their keys or by a filter.
OF_TASKS = (Action.RETRY, Action.RUN, Action.RESCHEDULE, Action.CANCEL)
#: Those that are done to a pool of workers.
OF_POOL = (Action.SCALE, Action.RELOAD, Action.RESTART, Action.DUMP)
