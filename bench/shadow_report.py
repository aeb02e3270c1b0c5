"""The report of shadow mode from a million recorded pairs: seconds and memory, and that it repeats byte for byte.

    python -m bench.shadow_report [--pairs 1000000] [--in-a-file 50000] [--folder FOLDER]

Makes the pairs first (Parquet, a file for each 50,000; a worker's files are as small as 40). Then it reads them in a
process of its own, so that the peak of memory is the report's alone. Bounds: 30 s and 500 MB for a million pairs on two
cores.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

ROLLOUT = "support"
FILE_PAIRS = 50_000
SECONDS = 30.0
MEGABYTES = 500.0

# Nine of ten pairs are canary pairs. In one class the canary changes numbers, and everywhere it opens friendlier.
_SIDE = """
    {model} AS {side}_model,
    CASE WHEN random() < {errors} THEN 'error' WHEN {refused} THEN 'refused' ELSE 'ok' END AS {side}_outcome,
    0.4 + 1.6 * random() * random() + {slower} AS {side}_seconds,
    CASE WHEN streamed THEN 0.1 + 0.3 * random() END AS {side}_first_token_seconds,
    {refused} AS {side}_refused,
    'stop' AS {side}_finish_reason, '' AS {side}_error, CAST(NULL AS BIGINT) AS {side}_status,
    CAST(200 + 2000 * random() AS BIGINT) AS {side}_input_tokens, CAST(0 AS BIGINT) AS {side}_cached_tokens,
    CAST(exp(3.5 + 1.5 * random() + {longer}) AS BIGINT) AS {side}_output_tokens,
    CAST(0 AS BIGINT) AS {side}_reasoning_tokens, CAST(300 + 900 * random() AS BIGINT) AS {side}_cost_micros,
    CAST(exp(5.0 + 1.5 * random() + {longer}) AS BIGINT) AS {side}_characters,
    CAST(exp(3.2 + 1.5 * random() + {longer}) AS BIGINT) AS {side}_words,
    CASE WHEN random() < {friendly} THEN 'I''d be happy to help with your question ' || CAST(random() * 1000 AS INTEGER)
        ELSE ['The refund for order', 'Your parcel is on', 'You can change the', 'To reset it, open'][
            1 + CAST(floor(random() * 4) AS BIGINT)] || ' ' || CAST(random() * 100000 AS INTEGER) END AS {side}_opening,
    CASE WHEN random() < 0.97 THEN 'en' ELSE 'de' END AS {side}_language,
    CAST(random() * 2 AS BIGINT) AS {side}_headings, CAST(0 AS BIGINT) AS {side}_tables,
    CAST(random() * 5 AS BIGINT) AS {side}_list_items, CAST(0 AS BIGINT) AS {side}_code_blocks,
    'none' AS {side}_citations, 'none' AS {side}_json, CAST(0 AS BIGINT) AS {side}_tool_calls
"""
_PAIRS = f"""
SELECT *, identical OR (similarity > 0.6 AND len(differences) = 0) AS equivalent FROM (
    SELECT 'p' || i AS pair, $rollout AS rollout, CAST(1 AS BIGINT) AS generation, 1776600000 + i * 0.2 AS "at", kind,
        prompt_class, 'u' || (i % 9000) AS user, md5(CAST(i % 70000 AS VARCHAR)) AS prompt, CAST(1 AS BIGINT) AS turn,
        concurrent, streamed,
        {
    _SIDE.format(
        side="control",
        model="'sol-4'",
        errors="0.004",
        refused="control_luck < 0.011",
        slower="0",
        longer="0",
        friendly="0.11",
    )
},
        {
    _SIDE.format(
        side="other",
        model="CASE WHEN kind = 'noise' THEN 'sol-4' ELSE 'sol-5' END",
        errors="0.004",
        refused="other_luck < CASE WHEN kind = 'noise' THEN 0.011 ELSE 0.02 END",
        slower="0.1",
        longer="CASE WHEN kind = 'noise' THEN 0 ELSE 0.2 END",
        friendly="CASE WHEN kind = 'noise' THEN 0.11 ELSE 0.84 END",
    )
},
        true AS comparable, '' AS not_comparable, random() < 0.08 AS identical, 0.5 + 0.5 * random() AS similarity,
        CASE WHEN random() < CASE WHEN prompt_class = 'billing' AND kind = 'candidate' THEN 0.3 ELSE 0.05 END
            THEN ['number', 'money'][:1 + CAST(floor(random() * 2) AS BIGINT)]
            ELSE CAST([] AS VARCHAR[]) END AS differences,
        CAST(NULL AS VARCHAR) AS prompt_text, CAST(NULL AS VARCHAR) AS control_text,
        CAST(NULL AS VARCHAR) AS other_text, CAST(1 AS BIGINT) AS format
    FROM (SELECT i, random() AS control_luck, random() AS other_luck,
        CASE WHEN random() < 0.1 THEN 'noise' ELSE 'candidate' END AS kind, random() < 0.5 AS concurrent,
        random() < 0.7 AS streamed, ['billing', 'orders', 'accounts', 'small talk'][
            1 + CAST(floor(random() * 4) AS BIGINT)] AS prompt_class
        FROM range(CAST($first AS BIGINT), CAST($last AS BIGINT)) numbers(i)))
"""


def make_pairs(folder: Path, pairs: int, *, in_a_file: int = FILE_PAIRS) -> None:
    """Parquet files as the worker writes them: a folder for each day."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SELECT setseed(0.42)").fetchall()
    for number, first in enumerate(range(0, pairs, in_a_file)):
        day = folder / ROLLOUT / f"2026-04-{19 + number % 3}"
        day.mkdir(parents=True, exist_ok=True)
        values = {"rollout": ROLLOUT, "first": first, "last": min(first + in_a_file, pairs)}
        connection.sql(_PAIRS, params=values).write_parquet(str(day / f"{number:04}.parquet"))


def measured(arguments: list[str]) -> tuple[float, float, float, bytes]:
    """Seconds, seconds of processor time, the peak of memory in MB, and what the command printed."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], check=False, capture_output=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1, 3):
        raise SystemExit(done.stderr.decode())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, after.ru_maxrss / 1024, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--in-a-file", type=int, default=FILE_PAIRS)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / ROLLOUT).exists():
            started = time.perf_counter()
            make_pairs(folder, options.pairs, in_a_file=options.in_a_file)
            print(f"made {options.pairs:,} pairs in {time.perf_counter() - started:.1f} s")
        command = ["-m", "killswitch", "shadow", "report", ROLLOUT, "--records", str(folder), "--json"]
        command += ["--html", str(folder / "report.html")]
        first, second = measured(command), measured(command)
        peak = max(first[2], second[2])
        for seconds, cpu, _, _ in (first, second):
            print(f"report: {seconds:.1f} s (at most {SECONDS:g}), of the processor {cpu:.1f} s")
        print(f"peak of memory {peak:.0f} MB (at most {MEGABYTES:g})")
        same = first[3] == second[3]
        print("the same bytes twice" if same else "DIFFERENT BYTES")
        raise SystemExit(min(first[0], second[0]) > SECONDS or peak > MEGABYTES or not same)


if __name__ == "__main__":
    main()
