"""The display of texts and endpoints; a package of its own, for docket and supervisor alike.

It imports neither: the supervisor has no use for the client of Redis that docket brings along.
"""
