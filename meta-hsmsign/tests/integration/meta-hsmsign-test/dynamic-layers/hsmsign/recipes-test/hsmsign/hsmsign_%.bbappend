# openssl-native is the host's here, Debian's libssl-dev; the recipe's pkg-config looks into the sysroot alone.
export OPENSSL_INCLUDE_DIR = "/usr/include"
export OPENSSL_LIB_DIR = "/usr/lib/${BUILD_ARCH}-linux-gnu"
