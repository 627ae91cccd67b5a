//! Each type's JSON: it comes back as it went, and its shape is the documented one.
