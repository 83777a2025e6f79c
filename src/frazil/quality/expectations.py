"""Great Expectations as a library: judges columns of Arrow rows and draws Data Docs. Imported only when checks run.

The import takes seven seconds and 290 MB, so nothing else may import this module at its top.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from frazil.errors import ConfigError
from frazil.quality import CheckResult
from frazil.quality.lake import MOST_FAILING
from frazil.quality.suite import Check

_BY_ROW = frozenset(
    f"expect_column_{name}"
    for name in (
        "values_to_not_be_null", "values_to_be_null", "values_to_be_in_set", "values_to_not_be_in_set", "values_to_be_between",
        "value_lengths_to_be_between", "value_lengths_to_equal", "values_to_match_regex", "values_to_not_match_regex",
        "values_to_match_regex_list", "values_to_not_match_regex_list", "values_to_match_strftime_format",
        "values_to_be_dateutil_parseable", "values_to_be_json_parseable",
    )
)  # fmt: skip
"""Expectations that judge each row alone, so that a table may be looked at in pieces."""


def by_row(check: Check) -> bool:
    return check.expectation in _BY_ROW and "mostly" not in check.kwargs


class Expectations:
    """The library, loaded.

    Raises:
        ConfigError: `quality.not_installed`.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("great_expectations") is None:
            words = "Great Expectations is not installed"
            raise ConfigError(words, code="quality.not_installed", hint="pip install 'frazil[quality]'")
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        os.environ.setdefault("TQDM_DISABLE", "1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        self._gx: Any = gx
        context: Any = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("lake").add_dataframe_asset("rows")
        self._batches = asset.add_batch_definition_whole_dataframe("all")

    def names(self) -> list[str]:
        """Every expectation the library knows, without `expect_`."""
        from great_expectations.expectations.registry import list_registered_expectation_implementations

        return sorted(name.removeprefix("expect_") for name in list_registered_expectation_implementations())

    def judge(self, checks: Sequence[Check], pieces: Iterable[pa.Table]) -> list[CheckResult]:
        """Results of checks on one table, in order of the checks; pieces are rows of it with the columns the checks and keys name.

        Raises:
            ConfigError: `quality.suite_invalid`: an expectation does not take these arguments.
        """
        suite = self._suite(checks)
        counts = [[0, 0] for _ in checks]  # checked, failing
        failing: list[list[dict[str, Any]]] = [[] for _ in checks]
        last: dict[int, Any] = {}
        for piece in pieces:
            for one in self._validated(suite, piece):
                number = one.expectation_config.meta["number"]
                self._raised(checks[number], one)
                last[number] = one
                counts[number][0] += int(one.result.get("element_count") or piece.num_rows) - int(one.result.get("missing_count") or 0)
                bad = one.result.get("unexpected_count")
                counts[number][1] += int(bad) if bad is not None else (0 if one.success else 1)
                room = MOST_FAILING - len(failing[number])
                if room > 0 and not one.success:
                    indexes = list(one.result.get("partial_unexpected_index_list") or [])[:room]
                    failing[number] += _rows(piece, [int(index) for index in indexes], checks[number])
        return [
            result_of(check, number, checked, rows, _observed(check, last.get(at)))
            for at, (check, (checked, number), rows) in enumerate(zip(checks, counts, failing, strict=True))
        ]

    def _suite(self, checks: Sequence[Check]) -> Any:
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
        from great_expectations.expectations.metadata_types import FailureSeverity

        suite = self._gx.ExpectationSuite(name="checks")
        for number, check in enumerate(checks):
            kwargs = {**check.kwargs, **({} if check.column is None else {"column": check.column})}
            try:
                suite.add_expectation_configuration(
                    ExpectationConfiguration(check.expectation, kwargs, {"number": number}, severity=FailureSeverity(check.severity))
                )
            except Exception as error:
                raise _refused(check, error) from error
        return suite

    def _validated(self, suite: Any, piece: pa.Table) -> list[Any]:
        import pandas as pd  # type: ignore[import-untyped]

        frame = piece.to_pandas(types_mapper=pd.ArrowDtype)
        batch = self._batches.get_batch({"dataframe": frame})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = batch.validate(suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": MOST_FAILING})
        return list(done.results)

    def _raised(self, check: Check, one: Any) -> None:
        said = one.exception_info or {}
        facts = [said] if "raised_exception" in said else list(said.values())
        for fact in facts:
            if isinstance(fact, Mapping) and fact.get("raised_exception"):
                raise _refused(check, fact.get("exception_message"))

    def page(self, checks: Sequence[Check], results: Sequence[CheckResult], run: str, file: Path) -> None:
        """Write one page of Data Docs."""
        from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
        from great_expectations.expectations.metadata_types import FailureSeverity
        from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
        from great_expectations.render.view.view import DefaultJinjaPageView

        drawn = []
        known = set(self.names())
        for check, result in zip(checks, results, strict=True):
            name, kwargs = check.expectation, {**check.kwargs, **({} if check.column is None else {"column": check.column})}
            if name.removeprefix("expect_") not in known:
                name, kwargs = "unexpected_rows_expectation", {"unexpected_rows_query": _shown(check)}
            facts = _page_facts(result)
            config = ExpectationConfiguration(
                type=name, kwargs=kwargs, severity=FailureSeverity(check.severity), description=result.message
            )
            drawn.append(ExpectationValidationResult(success=result.passed, expectation_config=config, result=facts))
        good = sum(one.passed for one in results)
        said: dict[str, Any] = {
            "evaluated_expectations": len(results),
            "successful_expectations": good,
            "unsuccessful_expectations": len(results) - good,
        }
        said["success_percent"] = 100 * good / max(1, len(results))
        page = ExpectationSuiteValidationResult(
            success=good == len(results),
            results=drawn,
            suite_name=f"{checks[0].suite} · {checks[0].table}",
            statistics=said,
            meta={"run_id": run, "active_batch_definition": {}, "batch_spec": {}, "great_expectations_version": self._gx.__version__},
        )
        view: Any = DefaultJinjaPageView()
        html = view.render(ValidationResultsPageRenderer().render(page))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(html, "utf-8")


def _page_facts(result: CheckResult) -> dict[str, Any]:
    """What a page shows of a result. The library draws no row at all where a count is missing."""
    failing = result.observed if isinstance(result.observed, int) else len(result.failing)
    return {
        "observed_value": str(result.observed),
        "element_count": round(failing / result.share) if result.share else failing,
        "unexpected_count": failing,
        "unexpected_percent": result.share * 100,
        "partial_unexpected_list": [str(row) for row in result.failing[:20]],
    }


def result_of(check: Check, number: int, checked: int, failing: Sequence[dict[str, Any]], observed: Any = None) -> CheckResult:
    """A check's result; `number` rows of `checked` failed."""
    where = f"{check.table}.{check.column}" if check.column else check.table
    said = check.about or check.expectation.removeprefix("expect_").replace("_", " ")
    message = f"{where}: {said}" + (f": {number:,} of {checked:,} rows fail" if number else "")
    return CheckResult(
        suite=check.suite,
        table=check.table,
        column=check.column,
        expectation=check.expectation,
        severity=check.severity,
        passed=number == 0,
        observed=number if observed is None else observed,
        share=min(1.0, number / checked) if checked else float(bool(number)),
        failing=list(failing),
        message=message,
    )


def _observed(check: Check, one: Any) -> Any:
    value = None if one is None else one.result.get("observed_value")
    return None if value is None or by_row(check) else str(value)


def _rows(piece: pa.Table, indexes: Sequence[int], check: Check) -> list[dict[str, Any]]:
    wanted = dict.fromkeys((*check.key, *([check.column] if check.column else [])))
    names = [name for name in wanted if name in piece.schema.names]
    return piece.select(names).take(pa.array(indexes, pa.int64())).to_pylist() if indexes else []


def _shown(check: Check) -> str:
    """A check as the library shows one of a query; it prints a warning to stdout when there is no `{batch}` in it."""
    shown = (check.sql or f"{check.expectation} {check.column or ''}").replace("{table}", "{batch}")
    return shown if "{batch}" in shown else f"{shown} -- {{batch}}"


def _refused(check: Check, error: object) -> ConfigError:
    return ConfigError(
        f"{check.expectation} on {check.table} cannot be judged: {str(error).strip()[:400]}",
        code="quality.suite_invalid",
        hint=f"correct the arguments at {check.origin}",
        suite=check.suite,
        origin=check.origin,
    )
