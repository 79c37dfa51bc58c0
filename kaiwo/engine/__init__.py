"""From a plan to a report: one thread owns the state, an executor does the work.

scheduler        runs a plan
rules            how a plan is to be carried out
request_budget   what memory allows
request_limit    how many requests are in flight
machines         other machines that do a run's jobs
dispatcher       keeps jobs in flight on an executor; planning lists with it
retry            when a failed request is retried
questions        what is asked before a plan, many at once
service_health   what a run learns about each service; it begins with the listings

The other modules are the engine's own business.
"""
