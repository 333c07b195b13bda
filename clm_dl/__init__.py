"""clm_dl: deep learning over customer event sequences for customer lifecycle management."""

__version__ = "0.1.0"
