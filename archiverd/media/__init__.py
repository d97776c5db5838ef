"""All that knows ffmpeg and MP4."""
