/* The little of a C library that the guest and the compiler need. */
#include "guest.h"

void *memset(void *at, int value, size_t bytes) {
	void *p = at;
	__asm__ volatile("rep stosb" : "+D"(p), "+c"(bytes) : "a"(value) : "memory");
	return at;
}

void *memcpy(void *to, const void *from, size_t bytes) {
	void *p = to;
	__asm__ volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(bytes) : : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t bytes) {
	if (to <= from || (const uint8_t *)from + bytes <= (uint8_t *)to) return memcpy(to, from, bytes);
	uint8_t *t = to;
	const uint8_t *f = from;
	while (bytes--) t[bytes] = f[bytes];
	return to;
}

int memcmp(const void *a, const void *b, size_t bytes) {
	const uint8_t *x = a, *y = b;
	for (; bytes; bytes--, x++, y++)
		if (*x != *y) return *x - *y;
	return 0;
}

size_t strlen(const char *s) {
	size_t n = 0;
	while (s[n]) n++;
	return n;
}

bool same(const char *a, const char *b) {
	while (*a && *a == *b) a++, b++;
	return *a == *b;
}

bool starts_with(const char *s, const char *prefix) {
	while (*prefix)
		if (*s++ != *prefix++) return false;
	return true;
}

struct sink { char *out; size_t room; };

static void emit(struct sink *s, char c) {
	if (s->room > 1) { *s->out++ = c; s->room--; }
}

static void emit_number(struct sink *s, uint64_t value, unsigned base, int width, char pad, bool negative) {
	char digits[24];
	int n = 0;
	do { digits[n++] = "0123456789abcdef"[value % base]; value /= base; } while (value);
	if (negative) digits[n++] = '-';
	for (; width > n; width--) emit(s, pad);
	while (n) emit(s, digits[--n]);
}

void vformat(char *out, size_t bytes, const char *fmt, va_list args) {
	struct sink s = {out, bytes};
	for (; *fmt; fmt++) {
		if (*fmt != '%') { emit(&s, *fmt); continue; }
		fmt++;
		char pad = ' ';
		int width = 0;
		bool wide = false;
		if (*fmt == '0') pad = '0';
		for (; *fmt >= '0' && *fmt <= '9'; fmt++) width = width * 10 + (*fmt - '0');
		if (*fmt == 'l') wide = true, fmt++;
		switch (*fmt) {
		case 's': {
			const char *p = va_arg(args, const char *);
			int n = 0;
			for (; p[n]; n++) emit(&s, p[n]);
			for (; n < width; n++) emit(&s, ' ');
			break;
		}
		case 'c': emit(&s, (char)va_arg(args, int)); break;
		case 'd': {
			int64_t v = wide ? va_arg(args, int64_t) : va_arg(args, int);
			emit_number(&s, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, pad, v < 0);
			break;
		}
		case 'u': emit_number(&s, wide ? va_arg(args, uint64_t) : va_arg(args, unsigned), 10, width, pad, false); break;
		case 'x': emit_number(&s, wide ? va_arg(args, uint64_t) : va_arg(args, unsigned), 16, width, pad, false); break;
		case 0: fmt--; break;
		default: emit(&s, *fmt);
		}
	}
	if (s.room) *s.out = 0;
}

void format(char *out, size_t bytes, const char *fmt, ...) {
	va_list args;
	va_start(args, fmt);
	vformat(out, bytes, fmt, args);
	va_end(args);
}
