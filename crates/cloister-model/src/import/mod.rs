//! From other programs' tensors to this crate's layout.

pub mod hugging_face;
