//! What the module promises.
