//! Conversions between the types and the generated protobuf messages, in both directions.
