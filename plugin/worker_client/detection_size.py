"""How far a host may shrink a layer before it asks for faces."""

# Up to this number of pixels the whole layer is checked, so that the figures are exactly those of `c2p check`.
WHOLE_PIXELS = 4000000
SEARCH_SIDE = 1024.0
# Faces are detected in a picture smaller than the layer by this factor, or of SEARCH_SIDE if that is larger.
SHRINK = 3.5


def choose_detection_size(width, height):
    # type: (int, int) -> tuple[int, int]
    """Width and height at which "find" sees every face that can be protected; more pixels would only cost time."""
    longest = max(width, height)
    side = max(SEARCH_SIDE, longest / SHRINK)
    if side >= longest:
        return width, height
    scale = side / longest
    return max(1, int(round(width * scale))), max(1, int(round(height * scale)))
