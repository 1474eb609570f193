"""Authenticated ciphers over every length around their blocks, which the command line of OpenSSL does not offer."""
import ctypes
import hashlib

crypto = ctypes.CDLL('libcrypto.so.3')
for name in 'EVP_CIPHER_CTX_new', 'EVP_CIPHER_fetch':
    getattr(crypto, name).restype = ctypes.c_void_p
SET_TAG, GET_TAG = 0x11, 0x10


def run(cipher, sealing, key, nonce, extra, text, tag):
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    length = ctypes.c_int()
    out = ctypes.create_string_buffer(len(text) + 16)
    begin, update, end = ((crypto.EVP_DecryptInit_ex, crypto.EVP_DecryptUpdate, crypto.EVP_DecryptFinal_ex),
                          (crypto.EVP_EncryptInit_ex, crypto.EVP_EncryptUpdate, crypto.EVP_EncryptFinal_ex))[sealing]
    assert begin(context, ctypes.c_void_p(cipher), None, key, nonce) == 1
    assert update(context, None, ctypes.byref(length), extra, len(extra)) == 1
    assert update(context, out, ctypes.byref(length), text, len(text)) == 1
    if not sealing:
        crypto.EVP_CIPHER_CTX_ctrl(context, SET_TAG, 16, tag)
    good = end(context, out, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(tag, 16)
    if sealing:
        crypto.EVP_CIPHER_CTX_ctrl(context, GET_TAG, 16, buffer)
    crypto.EVP_CIPHER_CTX_free(context)
    return out.raw[:len(text)], buffer.raw, good


for name in 'AES-128-GCM', 'AES-256-GCM', 'ChaCha20-Poly1305', 'ARIA-128-GCM':
    cipher = crypto.EVP_CIPHER_fetch(None, name.encode(), None)
    key = hashlib.sha256(name.encode()).digest()
    seen = hashlib.sha256()
    for size in [*range(130), 255, 256, 257, 511, 512, 768, 1023, 1500, 4096, 16385, 70001]:
        text = hashlib.shake_128(str(size).encode()).digest(size)
        nonce, extra = key[size % 20:][:12], text[:size % 37]
        sealed, tag, good = run(cipher, 1, key, nonce, extra, text, bytes(16))
        opened, _, same = run(cipher, 0, key, nonce, extra, sealed, tag)
        _, _, forged = run(cipher, 0, key, nonce, extra, sealed, bytes([tag[0] ^ 1]) + tag[1:])
        seen.update(sealed + tag)
        if (opened, good, same, forged) != (text, 1, 1, 0):
            print(name, size, 'WRONG', opened == text, good, same, forged)
    print(name, seen.hexdigest())
