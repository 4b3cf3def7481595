"""How far a host may shrink a layer before it asks for faces."""

# Up to this many pixels the whole layer is checked, so that the figures are those of `c2p check` to the last digit.
WHOLE_PIXELS = 4000000
SEARCH_SIDE = 1024.0
# The search for faces works on a picture this much smaller than the layer, or on SEARCH_SIDE where that is larger.
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
