//! One completion loop per core over io_uring or epoll with native AIO; buffers, shared memory, mailboxes. All unsafe code.
