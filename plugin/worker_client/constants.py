"""What client and worker have to agree on: protocol number, limits, kinds of messages, file names.

``c2p_core/worker`` imports them from here. ``docs/worker-protocol.md`` describes them.
"""

import struct

PROTOCOL = 3

# A frame: prefix, header (JSON), payload (pixels).
MAGIC = b"C2PW"
PREFIX = struct.Struct(">4sHHIQ")  # magic, protocol, 0, header bytes, payload bytes
HEADER_LIMIT = 1 << 20  # bytes
# Until the client has proved its identity, no longer header is needed.
HANDSHAKE_HEADER_LIMIT = 4096
PAYLOAD_LIMIT = 1 << 32  # bytes
# In a photo of a large group each face has a picture per makeup product.
PICTURES_LIMIT = 2048
SIDE_LIMIT = 262144  # pixels
# As ``decode.MAX_PIXELS``.
PIXELS_LIMIT = 178956970
ICC_LIMIT = 1 << 24  # bytes
# Bytes per value.
DEPTHS = {"u8": 1, "u16": 2, "float": 4}

# Kinds of messages: the handshake, ...
GREETING, HELLO = "greeting", "hello"
# ... requests with and without pixels, ...
JOB_KINDS = ("find", "protect", "search", "render", "measure", "apply", "drop", "check", "models")
STATUS, STOP, CANCEL = "status", "stop", "cancel"
# ... and responses.
QUEUED, PROGRESS, RESULT, ERROR = "queued", "progress", "result", "error"
LAST_KINDS = (RESULT, ERROR)
EVENT_KINDS = (QUEUED, PROGRESS) + LAST_KINDS
# "wants" of a client's hello: jobs, or only ``STATUS`` and ``STOP``, which need no models.
WORK, CONTROL = "work", "control"
# Who proves that it knows the token.
CLIENT, WORKER = "client", "worker"

UNIX, PIPE, TCP = "unix", "pipe", "tcp"
LOOPBACK = "127.0.0.1"
# The longest that the other side may pause within a message until it has proved its identity, in seconds.
STALL_SECONDS = 30.0
# Bytes that are sent or received at once; a message of a Windows pipe must not be longer.
CHUNK = 1 << 20

# In the run folder.
ENDPOINT = "worker.json"
START_LOG = "start.log"
HOME_VARIABLE = "C2P_HOME"
