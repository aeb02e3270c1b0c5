-- One row for each request, for ClickHouse 18.16 and newer. `time` and `inserted` are milliseconds since 1970.
-- Ordered by time: killswitch reads the newest minutes of all rollouts at once. Never set `inserted` yourself.
CREATE TABLE IF NOT EXISTS llm_requests (
    time Int64,
    inserted Int64 DEFAULT toInt64(toUnixTimestamp(now())) * 1000,
    rollout String,
    cohort String,
    model String,
    user String,
    outcome String,
    latency_ms Float64 DEFAULT -1,
    refused UInt8 DEFAULT 0,
    thumbs_down UInt8 DEFAULT 0
) ENGINE = MergeTree PARTITION BY toDate(intDiv(time, 1000)) ORDER BY time
