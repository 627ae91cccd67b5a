//! The control plane's requests, answers and events, and a client for the control socket.
#![forbid(unsafe_code)]
