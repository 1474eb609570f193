PRAGMA page_size = 4096;
PRAGMA journal_mode = WAL;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL, quantity INTEGER, kind TEXT);
CREATE TABLE sale(id INTEGER PRIMARY KEY, item INTEGER REFERENCES item(id), amount INTEGER, at INTEGER);
WITH RECURSIVE n(i, x) AS (VALUES(1, 17) UNION ALL SELECT i + 1, (x * 1103515245 + 12345) % 2147483648 FROM n WHERE i < 3000)
INSERT INTO item SELECT i, printf('item-%08x', x), x / 1000.0, x % 100, char(65 + x % 7) FROM n;
WITH RECURSIVE n(i, x) AS (VALUES(1, 99) UNION ALL SELECT i + 1, (x * 69069 + 1) % 4294967296 FROM n WHERE i < 8000)
INSERT INTO sale SELECT i, 1 + (x >> 8) % 3000, 1 + (x >> 4) % 9, 1700000000 + i * 37 FROM n;
CREATE INDEX item_name ON item(name);
CREATE INDEX sale_item ON sale(item, at);
SELECT kind, count(*), sum(quantity), printf('%.6f', avg(price)), min(name), max(name) FROM item GROUP BY kind;
SELECT i.kind, sum(s.amount), printf('%.4f', sum(s.amount * i.price)) FROM sale s JOIN item i ON i.id = s.item GROUP BY 1 ORDER BY 3 DESC;
SELECT date(at, 'unixepoch') d, count(*), sum(amount) OVER w FROM sale GROUP BY d WINDOW w AS (ORDER BY date(at, 'unixepoch') ROWS 2 PRECEDING);
UPDATE item SET price = round(price * 1.07, 2), name = upper(name) || '-' || substr(hex(name), 3, 6) WHERE quantity % 3 = 0;
DELETE FROM sale WHERE amount IN (SELECT amount FROM sale GROUP BY amount ORDER BY count(*) LIMIT 2);
SELECT count(*), sum(amount), group_concat(DISTINCT amount) FROM sale;
SELECT name, price FROM item WHERE name GLOB 'ITEM-[0-3]*' AND price BETWEEN 1000 AND 400000 ORDER BY price DESC, name LIMIT 20;
SELECT json_group_array(json_object('n', name, 'p', price)) FROM (SELECT name, price FROM item ORDER BY price LIMIT 5);
BEGIN; UPDATE item SET quantity = quantity + 1; ROLLBACK;
SELECT sum(quantity), quote(avg(price)) IS NOT NULL FROM item;
VACUUM;
PRAGMA integrity_check;
PRAGMA journal_mode = DELETE;
