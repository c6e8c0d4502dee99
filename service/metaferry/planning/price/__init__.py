"""What a run asks of its stores, by kind of request, and what that costs.

`model` has the values that plan.json and run.json keep, `tables` the list prices, `estimate` the requests of
a sync that was planned, `limit` the limit of the policy. Imported by the planner, the runs and all that shows
a report. It never looks a price up, and never opens a storage.
"""
