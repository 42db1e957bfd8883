"""The table of primitives: every record is whole, and one that is not is named."""

from fnn.glassbox.table import TABLE, Primitive


def lacking(table):
    """{primitive: the entries that are missing}, for the records that are not whole."""
    return {name: missing for name, primitive in table.items() if (missing := primitive.lacking())}


def test_every_record_is_whole():
    assert lacking(TABLE) == {}
    assert all(name == primitive.name for name, primitive in TABLE.items())


def test_a_missing_entry_is_named():
    planted = TABLE | {"new": Primitive("new"), "half": Primitive("half", rule=lambda y_bar, y, x: (y_bar,))}
    assert lacking(planted) == {"new": ["rule", "python"], "half": ["python"]}
