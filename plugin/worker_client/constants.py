"""What client and worker have to agree on: protocol number, limits, kinds of messages, names of files.

The one place for these; ``c2p_core/worker`` reads them from here. ``docs/worker-protocol.md`` describes them.
"""

import struct

PROTOCOL = 3

# A frame: prefix, header (JSON), payload (pixels).
MAGIC = b"C2PW"
PREFIX = struct.Struct(">4sHHIQ")  # magic, protocol, 0, header bytes, payload bytes
HEADER_LIMIT = 1 << 20  # bytes
# Before the client has proved who it is nobody needs a longer header.
HANDSHAKE_HEADER_LIMIT = 4096
PAYLOAD_LIMIT = 1 << 32  # bytes
# Of a large group each face has a picture per makeup product.
PICTURES_LIMIT = 2048
SIDE_LIMIT = 262144  # pixels
# As ``decode.MAX_PIXELS``.
PIXELS_LIMIT = 178956970
ICC_LIMIT = 1 << 24  # bytes
# Bytes of a value.
DEPTHS = {"u8": 1, "u16": 2, "float": 4}

# Kinds of messages: what shakes hands, ...
GREETING, HELLO = "greeting", "hello"
# ... what a client asks for, with pixels and without, ...
JOB_KINDS = ("find", "protect", "search", "render", "measure", "apply", "drop", "check", "models")
STATUS, STOP, CANCEL = "status", "stop", "cancel"
# ... and what it hears of that.
QUEUED, PROGRESS, RESULT, ERROR = "queued", "progress", "result", "error"
LAST_KINDS = (RESULT, ERROR)
EVENT_KINDS = (QUEUED, PROGRESS) + LAST_KINDS
# What a client's hello says that it wants: jobs, or only ``STATUS`` and ``STOP``, which need no models.
WORK, CONTROL = "work", "control"
# Who proves that it knows the token.
CLIENT, WORKER = "client", "worker"

UNIX, PIPE, TCP = "unix", "pipe", "tcp"
LOOPBACK = "127.0.0.1"
# The longest that the other side may pause within a message while it has not proved who it is, in seconds.
STALL_SECONDS = 30.0
# Bytes that are sent or taken at once; of a Windows pipe a message must not be longer.
CHUNK = 1 << 20

# In the run folder.
ENDPOINT = "worker.json"
START_LOG = "start.log"
HOME_VARIABLE = "C2P_HOME"
