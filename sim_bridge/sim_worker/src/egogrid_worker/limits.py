"""Every bound of the wire: the same numbers as `sim_bridge/src/limits.rs`, table in PROTOCOL.md."""

PROTOCOL_VERSION = 2
PAYLOAD_BYTES_MAX = 64 << 20
REQUEST_BYTES_MAX = 64 << 10
STRING_BYTES_MAX = 4096
CHUNK_LEN_MAX = 64
JOINTS_MAX = 64
CONFIDENCE_MAX = 3 * CHUNK_LEN_MAX
REASONS_MAX = 9 * CHUNK_LEN_MAX
STAGES_MAX = 16
COUNTS_MAX = 128
TOKENS_MAX = 1024
FIELDS_MAX = 16
SKETCHES_MAX = 1100
TASKS_MAX = 256
IMAGE_SIDE_PX_MAX = 4096
REQUESTS_WAITING_MAX = 8
"""Queries that wait for the simulator; more are answered `busy`."""
