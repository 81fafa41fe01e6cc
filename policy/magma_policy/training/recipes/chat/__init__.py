"""Instruction tuning: conversations about pictures, and without, in the form that Magma's own set is published in."""
