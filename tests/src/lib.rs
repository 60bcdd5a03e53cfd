//! Modules come with their parts.
