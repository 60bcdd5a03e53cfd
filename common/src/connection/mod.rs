//! State machines of both ends of the link.
