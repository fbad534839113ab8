//! Runs the service under a memory limit where no container does.
