//! One suite per seam. Each runs on the stateful fake and on the real adapter.

mod cluster;
