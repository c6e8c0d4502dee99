"""The operators, one module each; `metaferry.airflow` names them all.

`base` reads the job and turns errors of the library into those of Airflow; `leased` is what the operators
share that write. Each calls one function of the library; none decides anything about documents. Only
`metaferry.airflow` imports them, and nothing here runs when a DAG is parsed.
"""
