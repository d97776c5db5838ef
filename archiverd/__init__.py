"""archiverd: archives camera footage, and proves each archive before it lets go of the source."""

__version__ = "0.1.0"
