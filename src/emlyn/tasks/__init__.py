"""Task kinds, one folder or file each: plug-ins that say how answers are read, folded, scored and named."""
