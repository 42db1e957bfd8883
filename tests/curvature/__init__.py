"""Tests of second derivatives and per-example gradients."""
