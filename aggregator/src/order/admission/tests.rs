//! Tests of what may be submitted.
