"""Functions that look at several rows, by what makes their values the same on every run.

DuckDB calls all of its aggregates consistent. Most of them depend on the order of the rows, which is
another one on each run with several threads. The lists are what was measured over the same rows in other
orders, in groups and in windows (tests/properties/test_repeatable.py does so again); what is in none of
them is refused.
"""

from __future__ import annotations

from typing import Final

from metaferry.tables.expressions import aggregate_functions

#: Their values do not depend on the order of rows.
ANY_ORDER: Final = frozenset(
    {
        "count",
        "count_star",
        "count_if",
        "countif",
        "min",
        "max",
        "bool_and",
        "bool_or",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bitstring_agg",
        "median",
        "quantile",
        "quantile_cont",
        "quantile_disc",
        "mad",
        "histogram",
        "histogram_exact",
        "regr_count",
    }
)
#: The same, where what is added up are integers or decimals.
SUMS: Final = frozenset({"sum"})
#: Aggregates that take values of rows as they are: in one SELECT all of them see one order, so that the first
#: elements of two lists are of one row, and so on.
OF_ROWS: Final = frozenset(
    {
        "any_value",
        "arbitrary",
        "arg_max",
        "arg_max_null",
        "arg_max_nulls_last",
        "arg_min",
        "arg_min_null",
        "arg_min_nulls_last",
        "argmax",
        "argmin",
        "array_agg",
        "first",
        "group_concat",
        "last",
        "list",
        "listagg",
        "max_by",
        "min_by",
        "string_agg",
    }
)
#: Repeatable once the rows come in an order of their arguments.
ORDERED: Final = OF_ROWS | frozenset(
    {
        "approx_count_distinct",
        "approx_quantile",
        "approx_top_k",
        "avg",
        "corr",
        "covar_pop",
        "covar_samp",
        "favg",
        "fsum",
        "kahan_sum",
        "kurtosis",
        "kurtosis_pop",
        "lttb",
        "mean",
        "mode",
        "product",
        "regr_avgx",
        "regr_avgy",
        "regr_intercept",
        "regr_r2",
        "regr_slope",
        "regr_sxx",
        "regr_sxy",
        "regr_syy",
        "sem",
        "skewness",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "sum",
        "sumkahan",
        "var_pop",
        "var_samp",
        "variance",
    }
)
#: Window functions for which rows that tie are alike.
RANKS: Final = frozenset({"rank", "dense_rank", "rank_dense", "percent_rank", "cume_dist"})
#: Window functions for which rows that tie are not: they get all input columns as further keys.
PLACES: Final = frozenset({"row_number", "lag", "lead", "ntile"})
#: The same, over a frame: the keys go into the function, so that the frame keeps its ties.
ENDS: Final = frozenset({"first_value", "last_value", "nth_value"})

#: What the engine takes for a function where no column has the name, written like a column.
ENGINE_VALUES: Final = frozenset(
    {
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "user",
    }
)


def is_aggregate(name: str) -> bool:
    """Whether a function of the engine is an aggregate, known here or not."""
    return name in ANY_ORDER or name in ORDERED or name in aggregate_functions()
