//! Tests of the whole: a real store, a scripted node side.
