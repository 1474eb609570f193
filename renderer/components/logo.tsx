import logo from '../logo.svg';

export const Logo = ({ size = 26 }: { size?: number }) => <img src={logo} width={size} height={size} alt="" draggable={false} />;
