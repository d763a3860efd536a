//! benches/tpch
