"""Files in and out: photos, their metadata, reports and plots. This file imports nothing: commands start fast."""
