def svg(*a, **k):
    return ""


def html(*a, **k):
    return ""
