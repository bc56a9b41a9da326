//! The Python exceptions, and the only place where a core error becomes one of them.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use similar_fast_core::Error;

create_exception!(
    similar_fast._core,
    SimilarFastError,
    PyException,
    "Base of every error that this package defines; raised by nobody."
);
create_exception!(
    similar_fast._core,
    SearchError,
    SimilarFastError,
    "A search was told something that does not fit: an unknown or finished leaf, an exhausted tree."
);
create_exception!(
    similar_fast._core,
    QueueFullError,
    SimilarFastError,
    "The queue holds as many entries as its capacity allows."
);
create_exception!(
    similar_fast._core,
    QueueClosedError,
    SimilarFastError,
    "The queue was closed, before or while an entry waited."
);

/// Lets `?` carry a core error across the border.
pub(crate) struct CoreError(Error);

impl From<Error> for CoreError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<CoreError> for PyErr {
    fn from(CoreError(error): CoreError) -> Self {
        let text = error.to_string();
        match error {
            Error::InvalidArgument { .. }
            | Error::InvalidRow { .. }
            | Error::EntryTooLarge { .. }
            | Error::DuplicateEntry { .. }
            | Error::MasksTooLarge { .. }
            | Error::ImageMismatch { .. } => PyValueError::new_err(text),
            Error::UnknownLeaf { .. }
            | Error::FinishedLeaf { .. }
            | Error::UnknownNode { .. }
            | Error::TooManyInFlight { .. }
            | Error::TreeFull { .. }
            | Error::Exhausted { .. }
            | Error::CorruptFile { .. }
            | Error::NotExpanded { .. }
            | Error::TerminalAction { .. } => SearchError::new_err(text),
            Error::QueueFull { .. } => QueueFullError::new_err(text),
            Error::QueueClosed => QueueClosedError::new_err(text),
            // The enum is open; a variant that nobody mapped is still one of ours.
            _ => SimilarFastError::new_err(text),
        }
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("SimilarFastError", py.get_type::<SimilarFastError>())?;
    module.add("SearchError", py.get_type::<SearchError>())?;
    module.add("QueueFullError", py.get_type::<QueueFullError>())?;
    module.add("QueueClosedError", py.get_type::<QueueClosedError>())
}
