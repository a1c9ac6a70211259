"""What was trained, in the browser: models side by side, denoising live; and results."""
