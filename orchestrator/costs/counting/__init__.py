"""The process that counts FLOPs. It imports torch and calflops, so that the driver does not.

The driver uses `process`; the process itself runs `__main__`.
"""
