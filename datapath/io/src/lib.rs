//! io_uring and device ABIs: the only unsafe code.
