# Included by llama.cpp's CMake project while llama-cpp-python compiles: its `common` library is only needed by
# the image helper that we do not use, and leaving it out halves the time. The package forces the option on, so
# it cannot be given as -D.
set(LLAMA_BUILD_COMMON OFF)
