-- The tables that `killswitch shadow worker` writes to in ClickHouse. Run it once in the database of your choice, and
-- again after an upgrade: it adds columns that are missing, and changes nothing else.
-- A batch that is sent again after a lost answer is known by its token: non_replicated_deduplication_window.
-- The texts of pairs that differ go after 7 days: change the three TTL if `--keep-texts` says otherwise.
CREATE TABLE IF NOT EXISTS shadow_pairs
(
    pair String,
    rollout LowCardinality(String),
    generation Int64,
    at Float64,
    kind LowCardinality(String),
    prompt_class LowCardinality(String),
    user String,
    prompt String,
    turn Int64,
    concurrent Bool,
    streamed Bool,
    control_model LowCardinality(String),
    control_outcome LowCardinality(String),
    control_seconds Nullable(Float64),
    control_first_token_seconds Nullable(Float64),
    control_refused Nullable(Bool),
    control_finish_reason LowCardinality(String),
    control_error String,
    control_status Nullable(Int64),
    control_input_tokens Nullable(Int64),
    control_cached_tokens Nullable(Int64),
    control_output_tokens Nullable(Int64),
    control_reasoning_tokens Nullable(Int64),
    control_cost_micros Nullable(Int64),
    control_characters Nullable(Int64),
    control_words Nullable(Int64),
    control_opening String,
    control_language LowCardinality(String),
    control_headings Nullable(Int64),
    control_tables Nullable(Int64),
    control_list_items Nullable(Int64),
    control_code_blocks Nullable(Int64),
    control_citations LowCardinality(String),
    control_json LowCardinality(String),
    control_tool_calls Nullable(Int64),
    other_model LowCardinality(String),
    other_outcome LowCardinality(String),
    other_seconds Nullable(Float64),
    other_first_token_seconds Nullable(Float64),
    other_refused Nullable(Bool),
    other_finish_reason LowCardinality(String),
    other_error String,
    other_status Nullable(Int64),
    other_input_tokens Nullable(Int64),
    other_cached_tokens Nullable(Int64),
    other_output_tokens Nullable(Int64),
    other_reasoning_tokens Nullable(Int64),
    other_cost_micros Nullable(Int64),
    other_characters Nullable(Int64),
    other_words Nullable(Int64),
    other_opening String,
    other_language LowCardinality(String),
    other_headings Nullable(Int64),
    other_tables Nullable(Int64),
    other_list_items Nullable(Int64),
    other_code_blocks Nullable(Int64),
    other_citations LowCardinality(String),
    other_json LowCardinality(String),
    other_tool_calls Nullable(Int64),
    comparable Bool,
    not_comparable LowCardinality(String),
    identical Bool,
    similarity Nullable(Float64),
    equivalent Nullable(Bool),
    differences Array(String),
    prompt_text Nullable(String) TTL toDateTime(at) + INTERVAL 7 DAY,
    control_text Nullable(String) TTL toDateTime(at) + INTERVAL 7 DAY,
    other_text Nullable(String) TTL toDateTime(at) + INTERVAL 7 DAY,
    similarity_by LowCardinality(String),
    reused Bool DEFAULT false,
    format Int64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(toDateTime(at))
ORDER BY (rollout, at, pair)
SETTINGS non_replicated_deduplication_window = 10000;

-- A table that was made before this column existed.
ALTER TABLE shadow_pairs ADD COLUMN IF NOT EXISTS reused Bool DEFAULT false;

CREATE TABLE IF NOT EXISTS shadow_drops
(
    format Int64,
    rollout LowCardinality(String),
    at Float64,
    reasons Map(String, UInt64)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(toDateTime(at))
ORDER BY (rollout, at)
SETTINGS non_replicated_deduplication_window = 10000;
