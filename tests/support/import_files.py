"""Files about portfolios: plain lists, and the two files of the predecessor."""

STATES = (
    "Date,Ticker,Shares,Buy Price,Cost Basis,Stop Loss,Current Price,Total Value,PnL,Action,"
    "Cash Balance,Total Equity\n"
)
TRADES = "Date,Ticker,Shares Bought,Buy Price,Cost Basis,PnL,Reason,Shares Sold,Sell Price\n"
PLAIN = "symbol,shares,buy_price\n"

STATE = (
    STATES
    + "2026-01-02,ABEO,4.0,5.77,23.08,4.9,5.80,23.2,0.12,HOLD,,\n"
    + "2026-01-02,TOTAL,,,,,,23.2,0.12,,2.0,25.2\n"
    + "2026-01-05,ABEO,6.0,5.7000000000000002,34.2,4.9,6.00,36.0,1.8,BUY,,\n"
    + "2026-01-05,CADL,10,4.9,49,4,5,50,1,HOLD,,\n"
    + "2026-01-05,TOTAL,,,,,,86.0,2.8,,1.0,87.0\n"
)
LOG = (
    TRADES
    + "2026-01-02,ABEO,10,5.00,50,0,MANUAL BUY,,\n"
    + "2026-01-03,ABEO,10,7.00,70,0,MANUAL BUY,,\n"
    + "2026-01-04,ABEO,,,,10,sold a part,5,8.00\n"
    + "2026-01-02,CADL,3,4.90,14.7,0,MANUAL BUY,,\n"
    + "2026-01-06,CADL,,,,1,AUTOMATED SELL,3,5.10\n"
)
