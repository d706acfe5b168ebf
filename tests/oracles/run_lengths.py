"""COCO's run lengths, mask by mask, count by count and bit by bit."""


def runs_of(mask):
    """The lengths of runs of 0 and 1 of a mask [h, w], by columns, beginning with 0."""
    counts, value = [0], 0
    for column in zip(*mask, strict=True):
        for each in column:
            if int(each) != value:
                counts.append(0)
                value = int(each)
            counts[-1] += 1
    return counts


def compressed(counts):
    """The text of some counts."""
    text = ""
    for index, count in enumerate(counts):
        rest = count - counts[index - 2] if index > 2 else count
        while True:
            bits, rest = rest & 31, rest >> 5
            is_last = rest == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if is_last else 32))
            if is_last:
                break
    return text
